"""Text that is safe on a terminal: control characters are shown as symbols."""


def visible(text: str) -> str:
    """Return a text with symbols in place of its control characters."""
    return "".join(_symbol(character) for character in text)


def _symbol(character: str) -> str:
    code = ord(character)
    if 0xD800 <= code < 0xE000:  # half a character, from a path that is not UTF-8; no encoding can write it
        return "\ufffd"
    if character in "\n\t" or not (code < 32 or 127 <= code < 160):
        return character
    return chr(0x2400 + code) if code < 32 else "\u2421" if code == 127 else "\ufffd"
