"""Answers of evaluation targets, kept between runs in one SQLite file."""
