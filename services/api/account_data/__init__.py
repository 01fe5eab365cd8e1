"""What a person may ask about their own data: all of it in one archive, and its deletion."""
