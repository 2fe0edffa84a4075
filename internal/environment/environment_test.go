package environment

import (
	"strings"
	"testing"
)

func TestNever(t *testing.T) {
	for name := range strings.FieldsSeq(`
		LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT LD_ DYLD_INSERT_LIBRARIES BASH_ENV ENV SHELLOPTS BASHOPTS PS4 IFS PATH CDPATH GCONV_PATH
		HOSTALIASES LOCALDOMAIN RES_OPTIONS LOCPATH NLSPATH MALLOC_CHECK_ GLIBC_TUNABLES PYTHONPATH PYTHONSTARTUP PERL5LIB PERL5OPT
		RUBYOPT NODE_OPTIONS GIT_SSH_COMMAND GIT_DIR GIT_CONFIG_COUNT GIT_PROTOCOL_X PROMPT_COMMAND EDITOR VISUAL PAGER LESSOPEN LESS
		HOME ZDOTDIR SSH_ORIGINAL_COMMAND SSH_AUTH_SOCK TAR_OPTIONS JAVA_TOOL_OPTIONS TERMINFO_DIRS BASH_FUNC_ls`) {
		if !Never(name) {
			t.Errorf("%s may pass", name)
		}
	}
	for name := range strings.FieldsSeq("LANG LC_ALL LC_CTYPE LANGUAGE TZ GIT_PROTOCOL GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL COLORTERM NO_COLOR TERM https_proxy HTTPS_PROXY POSTERN_TICKET PGTZ LDAP ENVIRONMENT") {
		if Never(name) {
			t.Errorf("%s may not pass", name)
		}
	}
	for _, name := range []string{"", "BASH_FUNC_ls%%", "LANG=C\nX", "A=LD_PRELOAD", " LANG", "LANG ", "LANG\x00", "1A", "Ł", "LANG\n"} {
		if !Never(name) {
			t.Errorf("%q may pass", name)
		}
	}
}

func TestClash(t *testing.T) {
	for pattern, want := range map[string]string{
		"LANG": "", "LC_*": "", "LANG*": "", "POSTERN_*": "", "GIT_PROTOCOL": "", "TZ": "", "HTTP*": "",
		"LD_PRELOAD": "LD_*", "LD_*": "LD_*", "LD_P*": "LD_*", "L*": "LD_*", "PATH": "PATH", "P*": "PATH", "PA*": "PATH",
		"BASH*": "BASH*", "BASH_FUNC_*": "BASH*", "ENV*": "ENV", "GIT_*": "GIT_*", "GIT_AUTHOR_*": "GIT_*", "TZ*": "TZDIR", "PYTHONPATH": "PYTHON*",
	} {
		if got := Clash(pattern); got != want {
			t.Errorf("%s clashes with %q, want %q", pattern, got, want)
		}
	}
}

// Whatever a pattern without a clash matches may pass.
func FuzzClash(f *testing.F) {
	f.Add("LC_*", "LC_ALL")
	f.Add("L*", "LD_PRELOAD")
	f.Add("GIT_PROTOCOL", "GIT_PROTOCOL")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		prefix, wild := strings.CutSuffix(pattern, "*")
		matches := name == pattern || wild && strings.HasPrefix(name, prefix)
		if Clash(pattern) == "" && matches && nameForm.MatchString(name) && Never(name) {
			t.Fatalf("%q lets %s pass", pattern, name)
		}
	})
}
