"""Scoring of label maps, whatever made them: counting, saved predictions, and files of any method."""
