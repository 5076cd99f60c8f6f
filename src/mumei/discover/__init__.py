"""All of it: a pile of unlabelled material in, a searchable, clustered, mapped workspace and a report out."""
