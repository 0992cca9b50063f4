"""The agent without a database; not in tests/unit, because LangGraph takes seconds to load."""
