"""The draft of a bundle: manifest, documents, lineage and findings, from what was measured."""
