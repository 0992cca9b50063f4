"""What tenants name by a URL: where it does not lead, and what an answer cannot do."""

from tests.defences.defence import Change, Defence

GUARD = "handlers/outbound/guard.py"
REACHED = "tests/outbound/test_reached.py"
ANSWERS = "tests/outbound/test_answers.py"

DEFENCES = (
    Defence(
        "an address is looked at where it is connected to",
        "the look in the factory of sockets",
        (Change(GUARD, "        self._look(str(at[0]), int(at[1]))\n"),),
        (
            f"{REACHED}::test_no_spelling_leads_inside",
            f"{REACHED}::test_what_was_looked_at_before_does_not_count",
        ),
    ),
    Defence(
        "one inner answer denies the name",
        "the look at all answers of a name",
        (Change(GUARD, '            self._look(answer["host"], port)\n', "            pass\n"),),
        (f"{REACHED}::test_one_answer_that_is_denied_denies_the_name",),
    ),
    Defence(
        "IPv4 within IPv6 is IPv4",
        "the unmapping of ::ffff:0:0/96, with the table of IPv6",
        (
            Change(
                "handlers/outbound/addresses.py",
                "        return address.ipv4_mapped\n",
                '        return ip_address("2606:4700::1")\n',
            ),
        ),
        (
            f"{REACHED}::test_no_spelling_leads_inside",
            "tests/unit/test_outbound.py::test_what_is_refused_and_why",
        ),
    ),
    Defence(
        "http:// is for what is allowed alone",
        "the scheme in the refusal of an address",
        (
            Change(
                "handlers/outbound/addresses.py",
                '    return "plain" if plain else None\n',
                "    return None\n",
            ),
        ),
        (
            f"{REACHED}::test_one_answer_that_is_denied_denies_the_name",
            "tests/unit/test_outbound.py::test_what_is_refused_and_why",
        ),
    ),
    Defence(
        "no redirect is followed",
        "allow_redirects=False of a post",
        (Change(GUARD, ", allow_redirects=False"),),
        (f"{REACHED}::test_a_redirect_is_the_answer",),
    ),
    Defence(
        "nothing is unpacked",
        "auto_decompress=False of the sessions",
        (Change(GUARD, "            auto_decompress=False,\n"),),
        (f"{ANSWERS}::test_nothing_is_unpacked",),
    ),
    Defence(
        "the environment's proxy is not used",
        "trust_env=False of the sessions",
        (Change(GUARD, "            trust_env=False,\n", "            trust_env=True,\n"),),
        (f"{REACHED}::test_no_proxy_of_the_environment",),
    ),
    Defence(
        "an answer's body has an end",
        "the limit where the body is read",
        (Change(GUARD, "while size <= ANSWER_BYTES and (", "while ("),),
        (f"{ANSWERS}::test_no_more_of_a_body_is_read",),
    ),
    Defence(
        "an answer has an end",
        "the count of what arrives",
        (Change(GUARD, "        self._arrived += len(data)\n"),),
        (f"{ANSWERS}::test_an_answer_without_an_end_is_left",),
    ),
)
