"""Values of all kinds, as JSON: what a key of a plan may be found with."""

ODD = (
    *("null", "0", "1", "-1", "1.5", "3.0", "2147483648", "1e30", "-0.5"),
    *('"no"', '"false"', '"true"', '"0"', '"5"', '""', '" "', '"refuse "', '"\\u00a0"', '"1.5.1"'),
    *("[]", "[true]", "[5]", '["refuse"]', "{}", '{"max_chatbots": 5}', "true", "false"),
)
