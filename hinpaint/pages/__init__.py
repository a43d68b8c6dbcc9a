"""The pages of a release: an overview, a table of all entries, and one page an entry; files only, no server."""
