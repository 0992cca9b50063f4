"""What is refused because the plan has no place for one more."""

from db.ids import UserId
from handlers.limits import tell_no_room
from handlers.plans import Feature, Limit
from ingress.api.problems import Problem, limit_reached, not_in_plan


def no_room(user_id: UserId, key: Limit | Feature, most: int, used: int) -> Problem:
    """Which the tenant hears of as well, once a day, whoever met the limit."""
    problem = not_in_plan(key) if isinstance(key, Feature) else limit_reached(key, most, used)
    problem.afterwards = lambda conn: tell_no_room(conn, user_id, key, most)
    return problem
