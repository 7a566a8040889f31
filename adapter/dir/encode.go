package dir

import "strings"

// Names on disk. A folder's name ends in '+', so that the blob "a" and the blob "a/b" can both exist, and a capital letter is
// '+' and the small one, so that "a" and "A" are two files on a file system that folds case. Anything else stays as it is:
// "reports/Today.txt" is the file reports+/+today.txt.

// encode is the path of the file that holds a key.
func encode(key string) string {
	var b strings.Builder
	for _, c := range []byte(key) {
		switch {
		case c == '/':
			b.WriteString("+/")
		case 'A' <= c && c <= 'Z':
			b.WriteByte('+')
			b.WriteByte(c - 'A' + 'a')
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// decode is one part of a key by the name of its file, with a slash at its end when the name is a folder's. It reports false
// for a name that encode does not make.
func decode(name string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c == '+' && i > 0 && i == len(name)-1:
			b.WriteByte('/')
		case c == '+' && i+1 < len(name) && 'a' <= name[i+1] && name[i+1] <= 'z':
			i++
			b.WriteByte(name[i] - 'a' + 'A')
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-':
			b.WriteByte(c)
		default:
			return "", false
		}
	}
	return b.String(), true
}
