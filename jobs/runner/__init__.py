"""Runs jobs: a plan of independent work items, one commit for each, journaled, fenced, and resumed after a crash."""
