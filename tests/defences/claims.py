"""What a tenant names is nobody's until it is proven."""

from tests.defences.defence import Change, Defence

CLAIMS = "db/migrations/0050_claims.sql"
TESTS = "tests/api/test_claims.py"
RULES = "handlers/rules/claims.py"

DEFENCES = (
    Defence(
        "only what Graph says of a claim proves it",
        "comparing Graph's answer with what is named",
        (
            Change(
                "handlers/claims.py",
                "    problem = number_problem(look, wanted, claim.claimed_number or"
                " claim.whatsapp_phone_number)\n",
                "    problem = None if wanted else number_problem(look, wanted, None)\n",
            ),
        ),
        (
            f"{TESTS}::test_what_graph_denies_is_told_and_stays_a_claim",
            f"{TESTS}::test_no_odd_answer_proves_anything",
        ),
    ),
    Defence(
        "an answer of Graph counts for the claim that was asked about",
        "proof_seq where a number is proven",
        (
            Change(
                CLAIMS,
                " AND c.proof_seq = p_seq FOR NO KEY UPDATE;",
                " FOR NO KEY UPDATE;",
            ),
        ),
        (f"{TESTS}::test_what_is_changed_while_graph_is_asked_is_not_proven_by_its_answer",),
    ),
    Defence(
        "the number that Graph tells is the one that is named",
        "the comparison of the two",
        (
            Change(
                RULES,
                "    if wanted_number is not None and number != wanted_number:",
                "    if wanted_number is None and number != wanted_number:",
            ),
        ),
        (f"{TESTS}::test_what_graph_denies_is_told_and_stays_a_claim",),
    ),
    Defence(
        "a proof takes a number from whoever only claims it",
        "claims of others, where a number is proven",
        (
            Change(
                CLAIMS,
                "       AND (c.claimed_number = v_number OR c.claimed_phone_number_id = v_id);",
                "       AND false;",
            ),
        ),
        (f"{TESTS}::test_a_proof_displaces_claims",),
    ),
)
