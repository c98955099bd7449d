"""From columns to what a map makes of them."""
