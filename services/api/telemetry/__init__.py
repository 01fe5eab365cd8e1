"""Latest values, and history at the resolution that fits."""
