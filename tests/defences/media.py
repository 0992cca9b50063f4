"""Media: from Meta alone, as what they are, bounded, and gone with who sent them."""

from tests.defences.defence import Change, Defence

FETCHED = "tests/media/test_fetching.py"
HEARD = "tests/media/test_hearing.py"
READ = "tests/media/test_reading.py"
CHILDREN = "tests/media/test_children.py"
GIVEN = "tests/api/test_media.py"
UPLOADS = "tests/api/test_uploads.py"
FETCHING = "handlers/media/fetching.py"
ROWS = "db/migrations/0098_media.sql"

DEFENCES = (
    Defence(
        "media: pictures are drawn tenant by tenant",
        "whose it is that waits",
        (Change("ingress/api/uploads.py", "place(self.stream.user_id))", "place(object()))"),),
        (f"{UPLOADS}::test_slow_pictures_of_one_keep_another_waiting_for_two_of_them",),
    ),
    Defence(
        "media: a form has so many lines between its parts",
        "the count of a form's lines",
        (Change("ingress/api/uploads.py", "self._lines > LINES_MAX", "False"),),
        ("tests/api/test_uploads.py::test_a_form_of_nothing_but_lines_keeps_nobody_waiting",),
    ),
    Defence(
        "media: files come from Meta's hosts alone",
        "the look at an address before it is asked",
        (Change(FETCHING, "if not may_be_fetched(found.url, self._graph):", "if False:"),),
        (f"{FETCHED}::test_another_host_than_metas_is_not_asked",),
    ),
    Defence(
        "media: no redirect is followed",
        "that the session follows none",
        (
            Change(
                FETCHING,
                "sock_read=READ_S),\n                allow_redirects=False,",
                "sock_read=READ_S),\n                allow_redirects=True,",
            ),
        ),
        (f"{FETCHED}::test_what_fails_is_tried_again_and_leaves_nothing",),
    ),
    Defence(
        "media: a file is what Meta's hash says",
        "the comparison at its end",
        (
            Change(
                FETCHING,
                "if self._fetch.sha256 is not None and seen.digest() != self._fetch.sha256:",
                "if False:",
            ),
        ),
        (f"{FETCHED}::test_a_hash_counts_in_hex_and_in_base64",),
    ),
    Defence(
        "media: what Meta says is too large is not begun",
        "the size that it names",
        (Change(FETCHING, "if (found.bytes or 0) > BYTES[asked.kind]:", "if False:"),),
        (f"{FETCHED}::test_what_says_that_it_is_too_large_is_not_fetched",),
    ),
    Defence(
        "media: no more is read than a kind may have",
        "the count of what comes, and what its server says of it",
        (
            Change(FETCHING, "if self.bytes > BYTES[self._fetch.kind]:", "if False:"),
            Change(
                FETCHING,
                "if (self._response.content_length or 0) > BYTES[self.kind]:",
                "if False:",
            ),
        ),
        (f"{FETCHED}::test_what_is_larger_than_it_says_ends_at_the_bound",),
    ),
    Defence(
        "media: a file is what its bytes say",
        "the look whether it is of its message's kind",
        (Change(FETCHING, "if not head or not fits(found, self.kind):", "if not head:"),),
        (f"{FETCHED}::test_what_is_of_another_kind_is_refused",),
    ),
    Defence(
        "media: a picture is drawn anew",
        "its process: the file is kept as it came",
        (Change("handlers/media/work.py", "if medium.kind in PICTURES:", "if False:"),),
        (
            f"{READ}::test_nothing_of_a_picture_is_kept_but_what_can_be_seen",
            f"{READ}::test_what_hangs_behind_a_picture_is_gone",
        ),
    ),
    Defence(
        "media: a picture has so many pixels",
        "the look before it is drawn",
        (
            Change(
                "handlers/media/drawing.py",
                "if image.width * image.height > PIXELS_MAX:",
                "if False:",
            ),
        ),
        (f"{READ}::test_what_cannot_be_drawn_is_refused",),
    ),
    Defence(
        "media: who draws is bounded",
        "the bounds of its process",
        (Change("handlers/media/drawing.py", "    bound()\n", ""),),
        (f"{CHILDREN}::test_who_draws_is_bounded_before_a_byte_is_read",),
    ),
    Defence(
        "media: who draws does not go on for ever",
        "the end of its time",
        (
            Change(
                "handlers/documents/reading.py",
                "        async with asyncio.timeout(wall_s):\n",
                "        async with asyncio.timeout(None):\n",
            ),
        ),
        (f"{CHILDREN}::test_who_reads_has_so_long_and_no_longer",),
    ),
    Defence(
        "media: two are opened at a time",
        "the room for them",
        (
            Change(
                "handlers/media/pictures.py",
                "return Room(CHILDREN_MAX)",
                "return Room(99)",
            ),
        ),
        (f"{READ}::test_of_all_that_come_at_once_two_are_opened_at_a_time",),
    ),
    Defence(
        "media: a file goes with its row, whoever deletes that",
        "the trigger that notes its name",
        (
            Change(
                ROWS,
                "    FOR EACH ROW WHEN (OLD.file IS NOT NULL) EXECUTE FUNCTION",
                "    FOR EACH ROW WHEN (false) EXECUTE FUNCTION",
            ),
        ),
        (
            f"{FETCHED}::test_with_a_message_that_is_old_goes_its_file",
            f"{FETCHED}::test_with_a_tenant_goes_everything",
        ),
    ),
    Defence(
        "media: a half file goes when another is begun",
        "the trigger that notes the name that a row had",
        (
            Change(
                ROWS,
                " WHEN (OLD.file IS NOT NULL AND OLD.file IS DISTINCT FROM NEW.file)",
                " WHEN (false)",
            ),
        ),
        (f"{FETCHED}::test_a_dead_workers_is_fetched_by_another_and_its_file_goes",),
    ),
    Defence(
        "media: a file that lands late is removed again",
        "the second look",
        (
            Change(
                "handlers/media/removal.py",
                "ONCE_MORE = timedelta(minutes=10)",
                "ONCE_MORE = timedelta(0)",
            ),
        ),
        (f"{FETCHED}::test_a_file_that_lands_after_it_was_removed_is_removed_again",),
    ),
    Defence(
        "media: with a person goes what they sent",
        "that files are removed before an erasure ends",
        (
            Change(
                "handlers/erasure/files.py",
                "    await remove_files_of(pool, store, user_id)\n",
                "",
            ),
        ),
        (f"{FETCHED}::test_with_a_person_goes_what_they_sent",),
    ),
    Defence(
        "media: what was taken back while it came is not stored",
        "the epoch that is raised",
        (
            Change(
                "db/media.sql",
                "           lease_owner = NULL, epoch = d.epoch + 1\n",
                "           lease_owner = NULL\n",
            ),
            Change(
                "db/media.sql",
                "settled_at = coalesce(d.settled_at, now()),",
                "settled_at = d.settled_at,",
            ),
        ),
        (f"{FETCHED}::test_what_was_taken_back_goes",),
    ),
    Defence(
        "media: who lost one writes nothing",
        "the epoch where a fetch is begun",
        (
            Change(
                "db/media.sql",
                " WHERE m.user_id = $1 AND m.id = $2 AND m.epoch = $3 AND m.settled_at IS NULL\n"
                "   AND b.user_id",
                " WHERE m.user_id = $1 AND m.id = $2 AND $3::bigint > 0 AND m.settled_at IS NULL\n"
                "   AND b.user_id",
            ),
            Change(
                ROWS,
                "     WHERE o.user_id = p_user AND o.id = p_id AND o.epoch = p_epoch"
                " AND o.settled_at IS NULL\n",
                "     WHERE o.user_id = p_user AND o.id = p_id AND o.settled_at IS NULL\n",
            ),
            Change(
                "db/media.sql",
                " WHERE m.user_id = $1 AND m.id = $2 AND m.epoch = $3 AND m.settled_at IS NULL\n"
                "RETURNING m.message_id, m.usage_day;",
                " WHERE m.user_id = $1 AND m.id = $2 AND $3::bigint > 0 AND m.settled_at IS NULL\n"
                "RETURNING m.message_id, m.usage_day;",
            ),
        ),
        (f"{FETCHED}::test_who_lost_it_writes_nothing",),
    ),
    Defence(
        "media: one that kills its workers is left alone",
        "the count of deaths",
        (
            Change(
                "handlers/media/rules.py",
                "return GiveUp(DIED) if deaths >= DEATHS_MAX else None",
                "return None",
            ),
        ),
        (f"{FETCHED}::test_one_that_takes_its_workers_down_is_left_alone",),
    ),
    Defence(
        "media: of a customer so many a day",
        "the count of the contact's",
        (Change(ROWS, "o.usage_day = m.today) >= p_contact_max THEN", "false) > 0 THEN"),),
        (f"{FETCHED}::test_of_a_customer_so_many_a_day",),
    ),
    Defence(
        "media: of a tenant so many a day",
        "the count of the day's",
        (
            Change(
                ROWS,
                "AND d.usage_day = m.today AND d.files < p_tenant_max;",
                "AND d.usage_day = m.today;",
            ),
        ),
        (f"{FETCHED}::test_of_a_tenant_so_many_a_day",),
    ),
    Defence(
        "media: a tenant's flood leaves places for others",
        "the order in which they are claimed",
        (Change(ROWS, "ORDER BY f.place, f.due_at, f.id LIMIT", "ORDER BY f.due_at, f.id LIMIT"),),
        (f"{FETCHED}::test_a_tenants_flood_leaves_places_for_others",),
    ),
    Defence(
        "media: what is heard is a customer's text",
        "that it holds no note of ours",
        (
            Change(
                "handlers/media/words.py",
                '    said = customers(both_ends(storable(" ".join(transcript.split())),'
                " TRANSCRIPT_UNITS))\n",
                '    said = both_ends(storable(" ".join(transcript.split())), TRANSCRIPT_UNITS)\n',
            ),
        ),
        (f"{HEARD}::test_the_words_are_a_customers",),
    ),
    Defence(
        "media: what a document says is a customer's text",
        "that it holds no note of ours",
        (
            Change(
                "handlers/media/words.py",
                "{customers(head(storable(text), BEGINNING_UNITS))}",
                "{head(storable(text), BEGINNING_UNITS)}",
            ),
        ),
        (f"{READ}::test_a_document_that_says_notes_says_a_customers_words",),
    ),
    Defence(
        "media: a turn waits for words",
        "that it gives its lease back",
        (
            Change(
                "handlers/turns/inputs.py",
                "    return until if until > now else None\n",
                "    return None\n",
            ),
        ),
        (f"{HEARD}::test_a_turn_waits_for_the_words_and_answers_them_once",),
    ),
    Defence(
        "media: a turn waits so long and no longer",
        "the end of it",
        (
            Change(
                "handlers/turns/inputs.py",
                "    return until if until > now else None\n",
                "    return max(until, now + MEDIA_WAIT)\n",
            ),
        ),
        (f"{HEARD}::test_what_is_not_heard_in_time_is_said_and_answered_later",),
    ),
    Defence(
        "media: who keeps speaking is answered",
        "the end since the first that came",
        (
            Change(
                "handlers/turns/inputs.py",
                "    until = min(max(_came(open_)) + MEDIA_WAIT,"
                " min(_came(inputs)) + MEDIA_WAIT_ALL)\n",
                "    until = max(_came(open_)) + MEDIA_WAIT\n",
            ),
        ),
        (f"{HEARD}::test_whoever_keeps_speaking_is_answered_all_the_same",),
    ),
    Defence(
        "media: what was left to others does not come back",
        "the look whether the bot answered it",
        (
            Change(
                "handlers/media/coming_back.py",
                "        again = _is_owed(message) and (says or message.reason == opaque.LATER)\n",
                "        again = says or message.reason == opaque.LATER\n",
            ),
        ),
        (f"{HEARD}::test_what_was_left_to_others_does_not_come_back",),
    ),
    Defence(
        "media: what a person has answered does not come back",
        "the look at what they wrote since",
        (
            Change(
                "handlers/media/coming_back.py", "again and not message.by_person and", "again and"
            ),
        ),
        (f"{HEARD}::test_what_a_person_has_answered_since_does_not_come_back",),
    ),
    Defence(
        "media: a store that is away loses nothing",
        "that it is asked again",
        (
            Change(
                "handlers/media/listening.py",
                "        except (StoreProblem, FileNotFoundError):\n"
                '            return await self._not_now(claim, medium, "store")\n        seconds',
                "        except (StoreProblem, FileNotFoundError):\n"
                '            return await self._settle(claim, medium, "not_heard", None)\n'
                "        seconds",
            ),
        ),
        (f"{READ}::test_a_store_that_is_away_for_a_moment_loses_nothing",),
    ),
    Defence(
        "media: no browser opens what somebody sent",
        "that it is an attachment, of the type of its bytes",
        (
            Change(
                "ingress/api/outflow.py",
                '            "Content-Disposition": f\'attachment; filename="{file.name}"\',\n',
                "",
            ),
        ),
        (f"{GIVEN}::test_the_file_is_given_as_what_it_is",),
    ),
)
