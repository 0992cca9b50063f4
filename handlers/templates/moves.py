"""How a template's row follows what Meta tells: by webhooks, and by listings. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from db.ids import TemplateId
from db.templates import Kept, Moved, Standing, Told
from handlers.whatsapp.values import TemplateNews

DELETED = "DELETED"


def moved(has: Standing, news: TemplateNews, at: datetime) -> Moved | None:
    """None: it is older than what is known. Meta's times are whole seconds: of the same one what
    comes last counts, and a listing that was asked for in it says no more than it."""
    listed = has.synced_at.replace(microsecond=0) if has.synced_at else None
    is_ = _standing(has)

    def is_news(since: datetime | None) -> bool:
        return all(known is None or at >= known for known in (since, listed))

    match news.what:
        case "status" if news.status is not None and is_news(has.status_at):
            category = has.category
            if news.category is not None and is_news(has.category_at):
                category = news.category
            return replace(
                is_,
                status=news.status,
                category=category,
                rejected_reason=news.rejected_reason,
                rejection_info=news.rejection_info,
                status_at=at,
            )
        case "quality" if news.quality_score is not None and is_news(has.quality_at):
            return replace(is_, quality_score=news.quality_score, quality_at=at)
        case "category" if news.category is not None and is_news(has.category_at):
            # Announced, `category` is still what it was.
            announced = news.correct_category
            return replace(is_, category=news.category, correct_category=announced, category_at=at)
    return None


def _standing(has: Standing) -> Moved:
    return Moved(**{name: getattr(has, name) for name in Moved.__dataclass_fields__})


def is_told(was: Moved | Told, now: Moved | Told) -> bool:
    return (was.status, was.category, was.quality_score) != (
        now.status,
        now.category,
        now.quality_score,
    )


@dataclass(frozen=True, slots=True)
class Listing:
    """What a listing makes of the rows of an account."""

    new: Sequence[Told]
    changed: Sequence[tuple[TemplateId, Told]]
    gone: Sequence[tuple[TemplateId, Told]]  # with status DELETED
    listed: Sequence[TemplateId]  # rows that it tells of
    told: Sequence[tuple[TemplateId, Told]]  # of changed and gone, those that the tenant hears of


def compared(has: Sequence[Kept], told: Sequence[Told], asked_at: datetime) -> Listing:
    """`asked_at`: before the first page was asked for. What a webhook, or who made or changed it by
    the API, has told since is newer."""
    rows = {(row.told.name, row.told.language): row for row in has}
    by_name: Mapping[tuple[str, str], Told] = {(one.name, one.language): one for one in told}
    new = [one for key, one in by_name.items() if key not in rows]
    changed, gone, listed, news = [], [], [], []
    for key, row in rows.items():
        one = by_name.get(key)
        if one is not None:
            now = _merged(row, one, asked_at)
            listed.append(row.id)
            if now == row.told:
                continue
            changed.append((row.id, now))
        elif row.told.status == DELETED or _since(row, asked_at):
            continue
        else:
            now = replace(row.told, status=DELETED)
            gone.append((row.id, now))
        if is_told(row.told, now):
            news.append((row.id, now))
    return Listing(new, changed, gone, listed, news)


def _merged(row: Kept, one: Told, asked_at: datetime) -> Told:
    has, times = row.told, row.times
    second = asked_at.replace(microsecond=0)
    if times.status_at is not None and times.status_at >= second:
        reasons = (has.rejected_reason, has.rejection_info)
        one = replace(one, status=has.status, rejected_reason=reasons[0], rejection_info=reasons[1])
    elif one.status == has.status and one.rejection_info is None:
        one = replace(one, rejection_info=has.rejection_info)  # only webhooks tell it
    if times.category_at is not None and times.category_at >= second:
        one = replace(one, category=has.category, correct_category=has.correct_category)
    if times.quality_at is not None and times.quality_at >= second:
        one = replace(one, quality_score=has.quality_score)
    return one


def _since(row: Kept, asked_at: datetime) -> bool:
    """Made, or heard of, after the listing was asked for."""
    heard = row.times.status_at
    return row.times.created_at >= asked_at or (
        heard is not None and heard >= asked_at.replace(microsecond=0)
    )
