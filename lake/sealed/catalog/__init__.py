"""The catalog: which objects exist, what they hold, who landed them. No names of people, no values, no open keys."""
