"""The device agent: enrols once, obeys `desired`, serves, and reports until what it said is stored."""
