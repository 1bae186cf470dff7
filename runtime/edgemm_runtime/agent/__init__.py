"""The device agent: enrols once, obeys `desired`, serves models, and reports until its reports are stored."""
