package policy

// blankComments returns Cedar text with its comments turned to spaces, lines and offsets kept.
func blankComments(content []byte) []byte {
	return blank(content, false)
}

// blankStrings does the same to what stands inside string literals.
func blankStrings(content []byte) []byte {
	return blank(content, true)
}

func blank(content []byte, strings bool) []byte {
	out := make([]byte, len(content))
	copy(out, content)
	inString, inComment, escaped := false, false, false
	for i, b := range content {
		switch {
		case b == '\n' && !inString:
			inComment = false
		case inComment:
			out[i] = ' '
		case escaped:
			escaped = false
			if strings && b != '\n' {
				out[i] = ' '
			}
		case inString && b == '\\':
			escaped = true
			if strings {
				out[i] = ' '
			}
		case b == '"':
			inString = !inString
		case inString:
			if strings && b != '\n' {
				out[i] = ' '
			}
		case b == '/' && i+1 < len(content) && content[i+1] == '/':
			inComment = true
			out[i] = ' '
		}
	}
	return out
}
