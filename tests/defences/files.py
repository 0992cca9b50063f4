"""Files that are given and sent."""

from tests.defences.defence import Change, Defence

SENDING = "tests/media/test_sending.py"
UPLOADS = "tests/api/test_uploads.py"
FILES = "tests/turn/test_files.py"

DEFENCES = (
    Defence(
        "a file is uploaded before its message is marked",
        "the look whether it has to be, before mark_sending()",
        (
            Change(
                "handlers/sends/sending.py",
                "                case None if not is_to_be_uploaded(send):\n",
                "                case None if True:\n",
            ),
        ),
        (
            f"{SENDING}::test_who_dies_between_upload_and_send_costs_an_upload_and_no_message",
            f"{SENDING}::test_who_dies_with_the_id_written_down_uploads_nothing_more",
        ),
    ),
    Defence(
        "an upload is looked for again after the wait for another",
        "handle_of() under the lock of a file and a number",
        (
            Change(
                "handlers/sends/uploading.py",
                'if await handle_of(conn, user_id, medium["id"], phone_number_id) is not None:',
                "if False:",
            ),
        ),
        (f"{SENDING}::test_it_is_uploaded_once_for_a_number",),
    ),
    Defence(
        "an id that Meta has forgotten is uploaded anew, once",
        "the first refusal of a file's id",
        (
            Change(
                "handlers/sends/rules.py",
                "        return FILE_REFUSED if times else Again(timedelta(0), anew=True)\n",
                "        return Again(timedelta(0), anew=True)\n",
            ),
        ),
        (f"{SENDING}::test_what_is_refused_with_a_fresh_id_too_ends",),
    ),
    Defence(
        "a file that is gone ends its message",
        "the look at the file before a send",
        (
            Change(
                "handlers/sends/rules.py",
                '    if send.medium is not None and send.medium["file"] is None:\n',
                "    if False:\n",
            ),
        ),
        (f"{SENDING}::test_a_file_that_was_deleted_before_it_left_ends_the_message",),
    ),
    Defence(
        "a file whose answer is put off goes with the next",
        "the look at what a file goes out behind",
        (
            Change(
                "handlers/sends/rules.py",
                "    if send.left_behind:",
                "    if False:",
            ),
        ),
        (f"{FILES}::test_a_file_whose_answer_is_put_off_goes_with_the_next",),
    ),
    Defence(
        "a file near its removal gets no row",
        "the slack of note_finished()",
        (
            Change(
                "db/given_media.sql",
                "AND due_at > clock_timestamp() + $3::interval",
                "AND $3::interval IS NOT NULL",
            ),
        ),
        (f"{UPLOADS}::test_a_file_whose_removal_is_near_is_not_given",),
    ),
    Defence(
        "files are counted under the tenant's lock",
        "lock_user() before held_by()",
        (
            Change(
                "handlers/media/giving.py",
                "    if not await lock_user(conn, user_id):\n        raise NotThere\n",
                "",
            ),
        ),
        (f"{UPLOADS}::test_a_tenant_has_so_much_room",),
    ),
    Defence(
        "what is taken away while a turn thinks is not queued",
        "the look at the file in the turn's last transaction",
        (
            Change(
                "handlers/turns/leaving.py",
                "    if medium is None or medium.title is None",
                "    if medium is not None and medium.title is None",
            ),
        ),
        (f"{FILES}::test_a_file_that_was_taken_away_while_it_thought_is_left_out",),
    ),
    Defence(
        "the model sends what it was offered",
        "the look among the files that are offered",
        (
            Change(
                "handlers/agent/files.py",
                "if isinstance(wanted, bool) or wanted not in [one.id for one in self.offered]:",
                "if not isinstance(wanted, int):",
            ),
        ),
        (f"{FILES}::test_what_is_not_offered_is_not_sent",),
    ),
    Defence(
        "what stands on a template's button is the customer's",
        "its text is no note of ours",
        (
            Change(
                "handlers/whatsapp/cloud_api/notes.py",
                '    return Content(customers(text or payload), details={"reply": kept})\n',
                '    return Content(text or payload or "", details={"reply": kept})\n',
            ),
        ),
        (f"{FILES}::test_what_stands_on_a_templates_button_is_the_customers_text",),
    ),
)
