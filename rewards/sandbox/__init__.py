"""Programs that a model wrote, run where they can harm nothing: `bubblewrap` runs one, `inside` is what it runs there,
`remote` asks another machine to. Nothing here is used unless a recipe names the reward `unit_tests`."""
