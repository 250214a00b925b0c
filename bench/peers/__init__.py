"""The rivals, each as good as somebody who wants it to win would write it."""
