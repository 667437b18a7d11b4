"""The network, its loss, its optimizer, and the settings that suit a text."""
