"""Who is erased: at once in no answer, soon in no row, and known again by marks alone."""
