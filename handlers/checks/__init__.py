"""What an answer may say: what it names must stand in what the chatbot was told."""
