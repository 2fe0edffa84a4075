package web

import (
	"embed"
	"io/fs"
	"net/http"
	"path"
)

// The page is ours. The player is fetched; a fresh clone has none of it and compiles all the same.
var (
	//go:embed page
	pageFiles embed.FS
	//go:embed player
	playerFiles embed.FS
)

type asset struct {
	kind string
	data []byte
}

// kinds of files. What has no kind here is not served.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	"":      "text/plain; charset=utf-8", // the licences of the player
}

// assets are all files there are, by name, so no path that is asked for is ever looked up in a file system.
func assets() (map[string]asset, error) {
	found := map[string]asset{}
	for _, files := range []embed.FS{pageFiles, playerFiles} {
		err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
			kind, known := kinds[path.Ext(name)]
			if err != nil || entry.IsDir() || !known {
				return err
			}
			data, err := files.ReadFile(name)
			found[path.Base(name)] = asset{kind, data}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if len(found["player.js"].data) == 0 || len(found["player.css"].data) == 0 {
		return nil, ErrNoPlayer
	}
	return found, nil
}

func (s *Server) file(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if name == "" {
		name = "index.html"
	}
	a, ok := s.page[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.kind)
	w.Write(a.data)
}
