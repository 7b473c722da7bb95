"""01: the teacher, its revisions, the source's answers, the training rows."""
