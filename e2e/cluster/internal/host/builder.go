// Package host is what the parts of the test bed share: the cache with its
// builder, the handle of a running cluster, bounded waits and progress.
package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Builder makes things once and keeps them in the cache, keyed by the content
// of what they are made from. It is safe for concurrent use, also by several
// processes.
type Builder struct {
	// Source is the folder e2e/cluster of the repository.
	Source string
	// Cache is the root of the cache; it is shared by all clusters.
	Cache string
	// Progress receives the name and the duration of each thing made.
	Progress *Progress
}

// NewBuilder finds the sources and the cache folder. The cache is
// $NOVASPHERE_CACHE, by default ~/.cache/novasphere.
func NewBuilder(progress *Progress) (*Builder, error) {
	source, err := findSource()
	if err != nil {
		return nil, err
	}
	cache := os.Getenv("NOVASPHERE_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("no cache folder: set NOVASPHERE_CACHE or HOME: %w", err)
		}
		cache = filepath.Join(home, ".cache", "novasphere")
	}
	if cache, err = filepath.Abs(cache); err != nil {
		return nil, err
	}
	return &Builder{Source: source, Cache: cache, Progress: progress}, nil
}

// Once returns the folder <cache>/<name>-<key>. If it does not exist, fill
// makes its content in a temporary folder, which is then renamed, so that a
// folder that exists is whole. Callers with the same name wait for each other.
//
// name may have slashes ("bin/kube"); key comes from Hash.
func (b *Builder) Once(ctx context.Context, name, key string, fill func(ctx context.Context, dir string) error) (string, error) {
	final := filepath.Join(b.Cache, filepath.FromSlash(name)+"-"+key)
	if isDir(final) {
		return final, nil
	}
	unlock, err := Lock(ctx, filepath.Join(b.Cache, "locks", strings.ReplaceAll(name, "/", "-")))
	if err != nil {
		return "", fmt.Errorf("waiting for another build of %s: %w", name, err)
	}
	defer unlock()
	if isDir(final) {
		return final, nil
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return "", err
	}
	// The lock is held, so whatever has this name was left by a killed build.
	partial := final + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return "", err
	}
	if err := os.Mkdir(partial, 0o755); err != nil {
		return "", err
	}
	done := b.Progress.Step("build " + name)
	if err := fill(ctx, partial); err != nil {
		return "", errors.Join(fmt.Errorf("build %s: %w", name, err), os.RemoveAll(partial))
	}
	if err := os.Rename(partial, final); err != nil {
		return "", err
	}
	done()
	return final, nil
}

// GoBuild says how to build programs of one Go module.
type GoBuild struct {
	// Name is the folder name in <cache>/bin.
	Name string
	// Dir is the folder of the module, relative to e2e/cluster.
	Dir string
	// Packages are what to build; default ".".
	Packages []string
	// Out is the file name of the one program. Empty: each package's own name.
	Out string
	// Links are further names (symbolic links) for Out.
	Links []string
	Tags  []string
	// CGO turns cgo on. It is off by default, for static programs.
	CGO bool
	// Ldflags are added to "-s -w".
	Ldflags string
	// Env is added to the environment, as NAME=value.
	Env []string
	// Inputs are further files or folders, relative to e2e/cluster, whose
	// content the result depends on (a replaced module, for instance).
	Inputs []string
}

// Go builds and returns the folder with the programs. The key is the content
// of Dir and Inputs, these settings and the version of the Go tool chain.
func (b *Builder) Go(ctx context.Context, build GoBuild) (string, error) {
	key, err := b.goKey(ctx, build)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", build.Name, err)
	}
	return b.Once(ctx, "bin/"+build.Name, key, func(ctx context.Context, dir string) error {
		out := dir + string(filepath.Separator)
		if build.Out != "" {
			out = filepath.Join(dir, build.Out)
		}
		packages := build.Packages
		if len(packages) == 0 {
			packages = []string{"."}
		}
		if err := b.compile(ctx, build, packages, out); err != nil {
			return err
		}
		for _, link := range build.Links {
			if err := os.Symlink(build.Out, filepath.Join(dir, link)); err != nil {
				return err
			}
		}
		return nil
	})
}

// compile fetches the modules, then compiles, and says how far it is.
func (b *Builder) compile(ctx context.Context, build GoBuild, packages []string, out string) error {
	step := "build bin/" + build.Name
	tool := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "go", append(args, packages...)...)
		cmd.Dir = filepath.Join(b.Source, build.Dir)
		cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED="+map[bool]string{true: "1", false: "0"}[build.CGO])
		cmd.Env = append(cmd.Env, build.Env...)
		return cmd
	}
	tags := strings.Join(build.Tags, ",")
	modules := 0
	list, err := OutputLines(tool("list", "-deps", "-mod=readonly", "-tags", tags), func(line string) {
		if strings.HasPrefix(line, "go: downloading ") {
			modules++
			b.Progress.Detail(step, "%d modules fetched", modules)
		}
	})
	if err != nil {
		return err
	}
	compiled, all := 0, strings.Count(string(list), "\n")
	_, err = OutputLines(tool("build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly",
		"-ldflags", strings.TrimSpace("-s -w "+build.Ldflags), "-tags", tags, "-o", out), func(line string) {
		// Those that the compiler's cache has are not named.
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "go: ") {
			compiled++
			b.Progress.Detail(step, "%d packages compiled, of %d at most", compiled, all)
		}
	})
	return err
}

// Mmdebstrap runs mmdebstrap for a step "build NAME", and says how far it is.
func (b *Builder) Mmdebstrap(cmd *exec.Cmd, name string) error {
	if _, err := OutputLines(cmd, func(line string) {
		// "done" ends what the line before began.
		if what, found := strings.CutPrefix(line, "I: "); found {
			b.Progress.Detail("build "+name, "%s", strings.TrimSuffix(what, "..."))
		}
	}); err != nil {
		return fmt.Errorf("mmdebstrap (Debian package mmdebstrap): %w", err)
	}
	return nil
}

func (b *Builder) goKey(ctx context.Context, build GoBuild) (string, error) {
	version, err := Output(exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOARCH"))
	if err != nil {
		return "", fmt.Errorf("the Go tool chain is needed: %w", err)
	}
	hash := NewHash().Text(string(version)).Text(fmt.Sprintf("%#v", build))
	for _, input := range append([]string{build.Dir}, build.Inputs...) {
		hash.Tree(filepath.Join(b.Source, input))
	}
	return hash.Sum()
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
