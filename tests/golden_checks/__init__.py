"""Every part against arrays recorded from the public reference, in any folder of their layout.

Run: python -m tests.golden_checks [FOLDER], or make golden GOLDEN=FOLDER.
"""
