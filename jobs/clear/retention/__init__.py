"""Purges: months of employees whose keys are destroyed, and files that are written anew without some rows."""
