"""Sites with what they can do and what they are doing."""
