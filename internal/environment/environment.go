// Package environment knows the variables that no client may set on a host, whatever a policy says. Start with [Never].
//
// They change what a program is rather than how it speaks: which code is loaded into it, which files it begins with,
// which other program it runs, where it finds the things it names. With one of them a file that was uploaded under
// sftp-write would run without shell or exec, and a recorded "git log" would be something else. The list is a floor: what it
// does not hold still passes only if a policy names it. Proxies are not on it: they lead traffic elsewhere but run nothing.
package environment

import (
	"regexp"
	"slices"
	"strings"
)

// never has the names; a trailing * is every name that begins so.
var never = strings.Fields(`
	LD_* DYLD_* _RLD* LIBPATH SHLIB_PATH GLIBC_TUNABLES MALLOC_* GCONV_PATH GETCONF_DIR LOCPATH NLSPATH TZDIR TMPDIR
	HOSTALIASES LOCALDOMAIN RES_OPTIONS RESOLV_HOST_CONF NIS_PATH

	HOME SHELL USER LOGNAME SSH_* SUDO_* XDG_*
	PATH CDPATH FPATH MANPATH IFS ENV BASH* SHELLOPTS PS0 PS1 PS2 PS4 PROMPT_COMMAND GLOBIGNORE ZDOTDIR INPUTRC FCEDIT

	EDITOR VISUAL PAGER MANPAGER BROWSER LESS LESSOPEN LESSCLOSE LESSKEY* LESSEDIT MORE EXINIT VIM* NVIM* EMACSLOADPATH
	TERMCAP TERMINFO* SYSTEMD_* RSYNC_* CVS_RSH SVN_SSH GIT_* TAR_OPTIONS PSQL* WGETRC CURL_HOME OPENSSL_* KRB5*

	PYTHON* PERL* RUBY* GEM_* BUNDLE_* NODE_OPTIONS NODE_PATH NODE_REPL_EXTERNAL_MODULE NPM_CONFIG_* npm_config_*
	PHPRC PHP_* LUA_* AWKPATH AWKLIBPATH TCLLIBPATH
	JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS _JAVA_OPTIONS CLASSPATH
`)

// harmless are what the list would hold only because of its wildcards: git's protocol version, and who a commit is by.
var harmless = []string{
	"GIT_PROTOCOL", "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_AUTHOR_DATE",
	"GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "GIT_COMMITTER_DATE",
}

// A shell exports its functions under names such as BASH_FUNC_ls%%, and an = would end the name early.
var nameForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Never reports whether a variable must not pass. What is not a variable's name never does.
func Never(name string) bool {
	return !nameForm.MatchString(name) || forbidden(name) != ""
}

// Clash returns what a pattern such as LANG or LC_* would let pass that never may, "" if nothing.
func Clash(pattern string) string {
	prefix, wild := strings.CutSuffix(pattern, "*")
	if !wild {
		return forbidden(pattern)
	}
	for _, entry := range never {
		stem, many := strings.CutSuffix(entry, "*")
		if strings.HasPrefix(stem, prefix) || many && strings.HasPrefix(prefix, stem) {
			return entry
		}
	}
	return ""
}

// forbidden is the entry of the list that holds a name.
func forbidden(name string) string {
	if slices.Contains(harmless, name) {
		return ""
	}
	for _, entry := range never {
		stem, many := strings.CutSuffix(entry, "*")
		if name == stem || many && strings.HasPrefix(name, stem) {
			return entry
		}
	}
	return ""
}
