"""The notebooks as a course: what students get, what teachers get, and marks. See docs/course.md."""
