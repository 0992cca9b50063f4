"""Where a file that is imported is kept until it is done. Pure."""

_ROWS = "-rows"


def file_key(user_id: int, name: str) -> str:
    """`name`: of letters and digits, and nobody else's."""
    return f"{folder_of(user_id)}{name}"


def file_of_rows(document: str) -> str:
    """Where the rows of a document are kept."""
    return f"{document_of(document)}{_ROWS}"


def document_of(file: str) -> str:
    """The same file, where it is no document's rows."""
    return file.removesuffix(_ROWS)


def folder_of(user_id: int) -> str:
    return f"imports/{user_id:d}/"
