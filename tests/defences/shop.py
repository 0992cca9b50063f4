"""The shop: one order a confirmed quote, at what was agreed to, of what there is."""

from tests.defences.defence import Change, Defence

SHOP = "tests/turn/test_shop.py"
ORDERS = "tests/api/test_orders.py"
SHOPS = "db/migrations/0102_shops.sql"
KEPT = "db/migrations/0056_orders.sql"
QUOTES = "db/quotes.sql"

DEFENCES = (
    Defence(
        "shop: a button is looked up in its conversation",
        "the conversation where what was pressed is looked up",
        (
            Change(
                QUOTES,
                "SELECT token FROM quotes WHERE user_id = $1 AND conversation_id = $2 AND token",
                "SELECT token FROM quotes WHERE user_id = $1 AND $2::bigint > 0 AND token",
            ),
            Change(
                QUOTES,
                "SELECT id FROM quotes WHERE user_id = $1 AND conversation_id = $2 AND token",
                "SELECT id FROM quotes WHERE user_id = $1 AND $2::bigint > 0 AND token",
            ),
        ),
        (f"{SHOP}::test_a_forged_foreign_or_guessed_id_orders_nothing",),
    ),
    Defence(
        "shop: a quote ends once",
        "that only an open one ends",
        (Change(QUOTES, "AND id = $2 AND status = 'open'\nRETURNING", "AND id = $2\nRETURNING"),),
        (f"{SHOP}::test_pressed_again_after_the_order_was_cancelled_it_is_offered_anew",),
    ),
    Defence(
        "shop: what was ordered is not ordered again",
        "the look whether a quote has an order",
        (
            Change(
                "handlers/quotes.py",
                "    if quote.order_number is not None and not quote.is_cancelled:",
                "    if False:",
            ),
            Change(
                "handlers/quotes.py",
                '    if quote.status != "open" and not quote.is_cancelled:\n',
                "    if False:\n",
            ),
        ),
        (f"{SHOP}::test_pressed_again_at_once_or_later_it_is_one_order",),
    ),
    Defence(
        "shop: a quote has one order, whoever writes it",
        "that orders.quote_id is unique",
        (Change(SHOPS, "CREATE UNIQUE INDEX orders_quote ON", "CREATE INDEX orders_quote ON"),),
        (f"{SHOP}::test_a_quote_makes_one_order_whoever_writes_it",),
    ),
    Defence(
        "shop: one quote an input",
        "the key of a conversation's input",
        (Change(SHOPS, "    UNIQUE (user_id, conversation_id, input_seq),\n", ""),),
        (f"{SHOP}::test_a_turn_that_is_written_twice_quotes_once",),
    ),
    Defence(
        "shop: of quotes the newest counts",
        "that a newer one replaces those before",
        (
            Change(
                "handlers/quotes.py",
                "    await replace_quotes(conn, user_id, conversation_id)\n",
                "",
            ),
            Change(SHOPS, "CREATE UNIQUE INDEX quotes_open ON", "CREATE INDEX quotes_open ON"),
        ),
        (f"{SHOP}::test_of_quotes_the_newest_counts",),
    ),
    Defence(
        "shop: at the press it is priced again",
        "the comparison of what was agreed to with what it is now",
        (Change("handlers/quotes.py", "not lacking and now == before:", "not lacking:"),),
        (f"{SHOP}::test_another_price_at_the_press_makes_another_quote",),
    ),
    Defence(
        "shop: a quote holds for a day",
        "its end",
        (Change("handlers/quotes.py", ' == "open" and not quote.is_over\n', ' == "open"\n'),),
        (f"{SHOP}::test_after_a_day_it_is_made_anew",),
    ),
    Defence(
        "shop: what is not said offers nothing",
        "that an answer with a foreign amount has no button",
        (
            Change(
                "handlers/turns/saying.py",
                " is not None or (check is not None and check.has(AMOUNT)):",
                " is not None:",
            ),
        ),
        (f"{SHOP}::test_an_answer_that_is_not_sent_offers_nothing",),
    ),
    Defence(
        "shop: a person who has the conversation has the presses",
        "the look at who has it, when the turn is read and behind its fence",
        (
            Change(
                "handlers/turns/write.py",
                "            decision = unsaid(decision, read)\n        elif",
                "            pass\n        elif",
            ),
            Change(
                "handlers/turns/inputs.py",
                "    if silence is None and (quotes or context.sells):",
                "    if quotes or context.sells:",
            ),
            Change(
                "handlers/turns/inputs.py",
                "            silence = why_unserved(context)\n",
                "            silence = None\n",
            ),
        ),
        (f"{SHOP}::test_a_person_who_has_the_conversation_has_the_press_too",),
    ),
    Defence(
        "shop: who is not served sells nothing",
        "the look at plan and tenant before a press is read",
        (
            Change(
                "handlers/turns/inputs.py",
                "            silence = why_unserved(context)\n",
                "            pass\n",
            ),
        ),
        (f"{SHOP}::test_a_tenant_that_is_not_served_sells_nothing",),
    ),
    Defence(
        "shop: what a cart claims is no price of the shop's",
        "that what an answer repeats of a cart is the customer's",
        (
            Change(
                "handlers/agent/evidence.py",
                '        text = text.replace(one, " ")\n',
                "        pass\n",
            ),
        ),
        (f"{SHOP}::test_what_a_cart_claims_is_no_price_of_the_shop",),
    ),
    Defence(
        "shop: an old order is no source for a new one",
        "the number in a sentence that tells of an order",
        (
            Change(
                "handlers/checks/told.py",
                "            bool(numbers) and all(",
                "            any(effect in one for one in self.orders.values()) or all(",
            ),
        ),
        (f"{SHOP}::test_a_customer_hears_of_their_own_orders_only",),
    ),
    Defence(
        "shop: a customer hears of their own orders",
        "the contact where orders are looked for",
        (Change(QUOTES, "AND o.contact_id = $2 AND", "AND $2::bigint > 0 AND"),),
        (f"{SHOP}::test_a_customer_hears_of_their_own_orders_only",),
    ),
    Defence(
        "shop: stock is taken by whoever writes an item",
        "the trigger that takes it",
        (Change(SHOPS, " SET stock = p.stock - NEW.quantity\n", " SET stock = p.stock\n"),),
        (f"{SHOP}::test_the_press_orders_without_a_model_and_outside_the_meter",),
    ),
    Defence(
        "shop: no stock is below zero",
        "the constraint behind it",
        (Change(SHOPS, "ADD COLUMN stock integer CHECK (stock >= 0)", "ADD COLUMN stock integer"),),
        (f"{SHOP}::test_nobody_takes_more_than_there_is",),
    ),
    Defence(
        "shop: who orders holds the stock first",
        "the lock of what is counted",
        (
            Change(
                "db/products.sql",
                "AND stock IS NOT NULL\n ORDER BY id FOR NO KEY UPDATE;",
                "AND stock IS NOT NULL\n ORDER BY id;",
            ),
        ),
        (f"{ORDERS}::test_of_many_at_once_no_more_are_sold_than_there_are",),
    ),
    Defence(
        "shop: what is cancelled comes back once",
        "the look at what the order was before",
        (
            Change(
                SHOPS,
                "    WHEN (NEW.status = 'cancelled' AND OLD.status IS DISTINCT FROM 'cancelled'\n",
                "    WHEN (NEW.status = 'cancelled'\n",
            ),
        ),
        (f"{SHOP}::test_what_is_cancelled_comes_back_once",),
    ),
    Defence(
        "shop: a total is the sum of its items",
        "the look at them when somebody writes it",
        (
            Change(
                KEPT,
                "        IF v_items > 0 AND v_total IS DISTINCT FROM NEW.total_amount THEN\n",
                "        IF false THEN\n",
            ),
        ),
        (f"{ORDERS}::test_nobody_gives_an_order_another_total",),
    ),
    Defence(
        "shop: who writes items waits for who writes others",
        "the lock of the order before its items are summed",
        (
            Change(
                KEPT,
                "    PERFORM FROM orders o WHERE o.id = ANY (v_orders) ORDER BY o.id"
                " FOR NO KEY UPDATE;\n",
                "",
            ),
        ),
        (f"{ORDERS}::test_writers_of_items_at_once_come_to_the_sum",),
    ),
    Defence(
        "shop: an order moves along its graph",
        "the look at it in the database",
        (
            Change(
                KEPT,
                "        ELSIF NOT order_moves('status', OLD.status, NEW.status) THEN\n",
                "        ELSIF false THEN\n",
            ),
        ),
        (f"{ORDERS}::test_the_graph_is_held_by_the_api_and_by_the_database",),
    ),
    Defence(
        "shop: of two moves at once one is made",
        "the lock of the order that moves",
        (
            Change(
                "db/orders.sql",
                "  FROM orders WHERE user_id = $1 AND id = $2 FOR NO KEY UPDATE;\n",
                "  FROM orders WHERE user_id = $1 AND id = $2;\n",
            ),
        ),
        (f"{ORDERS}::test_of_two_moves_at_once_one_is_made",),
    ),
    Defence(
        "shop: an order is earned once",
        "the look whether it was paid before",
        (Change(KEPT, "       AND OLD.paid_at IS NULL THEN\n", "       THEN\n"),),
        (f"{ORDERS}::test_an_order_is_earned_once",),
    ),
    Defence(
        "shop: a customer is told of a move once",
        "the look whether the order moved",
        (
            Change(
                "ingress/api/resources/orders.py",
                "    if new.status != order.status:\n",
                "    if new.status is not None:\n",
            ),
        ),
        (f"{ORDERS}::test_customers_hear_of_the_states_that_the_tenant_wants",),
    ),
)
