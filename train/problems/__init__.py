"""Rows of any collection as problems with right answers: what training and evaluation both read."""
