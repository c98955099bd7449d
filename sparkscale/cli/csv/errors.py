"""What to do about a CSV file that Spark fails to read."""

from __future__ import annotations

from sparkscale.spark import jvm

__all__ = ["reading_error", "shortened"]

MAX_LENGTH = 80  # characters of a row or cell in a message


def reading_error(error: BaseException) -> str | None:
    """Return the message for an error of Spark's CSV reader, or ``None`` for another error."""
    text = f"{jvm.message(error)}\n{error}"
    if "MALFORMED_CSV_RECORD" in text or "MALFORMED_RECORD_IN_PARSING" in text:
        _, mark, row = text.partition("Malformed CSV record: ")
        row = f": {shortened(row.partition(chr(10))[0].removesuffix(' SQLSTATE: KD000'))}" if mark else "."
        return (
            "A row of the CSV file has more or fewer cells than the header. Correct it, or choose with --read-option "
            "mode=DROPMALFORMED to leave such rows out, or mode=PERMISSIVE to leave out surplus cells and fill up missing "
            f"ones. The row{row}"
        )
    if "Unescaped quote character" in text:
        return (
            "A quoted cell of the CSV file has a quote that is not doubled. If another character escapes it, name it: "
            "--read-option escape='\\'. To read such cells as they come: --read-option "
            "unescapedQuoteHandling=STOP_AT_DELIMITER."
        )
    if "CSV header does not conform" in text:
        return (
            "The CSV files have different headers. Give them the same columns in the same order, or read all by the header "
            "of one of them: --read-option enforceSchema=true."
        )
    return None


def shortened(text: str) -> str:
    """Return the start of a text that is long."""
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}..."
