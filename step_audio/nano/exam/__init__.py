"""nano's examination: questions, judge, bars."""
