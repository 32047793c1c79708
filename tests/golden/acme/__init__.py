"""A product that fails in every way, for `make_goldens.py` and `tests/end_to_end/test_golden.py`.

Nothing in it calls a library, since lines of libraries differ between versions. Changing a line here
changes the golden files: run `make_goldens.py` again.
"""
