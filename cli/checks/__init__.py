"""What `swiftreplies doctor` looks at, a module a foreign system."""
