"""The vendors' ways in: one file each, pull and webhook decoding alike."""
