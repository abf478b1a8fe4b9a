package host

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A step that takes long is shown again after this time, with how far it is.
const (
	redrawInterval = time.Second
	lineInterval   = 15 * time.Second
)

// Progress shows steps with their durations: one line that is redrawn on a
// terminal, plain lines elsewhere. A nil Progress shows nothing.
type Progress struct {
	mutex    sync.Mutex
	out      io.Writer
	terminal bool
	begin    time.Time
	active   []string
	details  map[string]string
	finished []phase
}

type phase struct {
	name        string
	from, until time.Duration
}

// NewProgress writes to a file, usually standard error.
func NewProgress(out *os.File) *Progress {
	_, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS)
	progress := &Progress{out: out, terminal: err == nil, begin: time.Now(), details: map[string]string{}}
	go progress.repeat()
	return progress
}

func (p *Progress) repeat() {
	interval := lineInterval
	if p.terminal {
		interval = redrawInterval
	}
	for range time.Tick(interval) {
		p.mutex.Lock()
		if p.terminal {
			p.redraw()
		} else if len(p.active) > 0 {
			fmt.Fprintf(p.out, "%7.2fs  %s\n", time.Since(p.begin).Seconds(), p.state())
		}
		p.mutex.Unlock()
	}
}

// Step begins a step; call the result when it has succeeded. A step that is
// not ended is shown as the last one begun when the program reports its error.
func (p *Progress) Step(name string) (done func()) {
	if p == nil {
		return func() {}
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	from := time.Since(p.begin)
	p.active = append(p.active, name)
	if !p.terminal {
		fmt.Fprintf(p.out, "%7.2fs  %s ...\n", from.Seconds(), name)
	}
	p.redraw()
	return sync.OnceFunc(func() {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		until := time.Since(p.begin)
		p.finished = append(p.finished, phase{name, from, until})
		p.remove(name)
		p.clear()
		fmt.Fprintf(p.out, "%7.2fs  %s: done in %.2f s\n", until.Seconds(), name, (until - from).Seconds())
		p.redraw()
	})
}

// Detail says how far a step is; it is shown until the step ends.
func (p *Progress) Detail(step, format string, args ...any) {
	if p == nil {
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if slices.Contains(p.active, step) {
		p.details[step] = fmt.Sprintf(format, args...)
	}
}

// Note prints one line.
func (p *Progress) Note(format string, args ...any) {
	if p == nil {
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.clear()
	fmt.Fprintf(p.out, "%7.2fs  %s\n", time.Since(p.begin).Seconds(), fmt.Sprintf(format, args...))
	p.redraw()
}

// Table prints when each finished step began and how long it took.
func (p *Progress) Table() {
	if p == nil {
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.clear()
	phases := slices.Clone(p.finished)
	slices.SortStableFunc(phases, func(a, b phase) int { return int(a.from - b.from) })
	width := len("total")
	for _, each := range phases {
		width = max(width, len(each.name))
	}
	fmt.Fprintf(p.out, "%-*s  %8s  %8s\n", width, "phase", "begin s", "took s")
	for _, each := range phases {
		fmt.Fprintf(p.out, "%-*s  %8.2f  %8.2f\n", width, each.name, each.from.Seconds(), (each.until - each.from).Seconds())
	}
	fmt.Fprintf(p.out, "%-*s  %8s  %8.2f\n", width, "total", "", time.Since(p.begin).Seconds())
}

// Finish removes the line that is redrawn.
func (p *Progress) Finish() {
	if p == nil {
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.clear()
	p.active = nil
}

func (p *Progress) waiting(what string) (clear func()) {
	if p == nil {
		return func() {}
	}
	return func() {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		delete(p.details, what)
	}
}

func (p *Progress) detail(what, detail string) {
	if p == nil {
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.details[what] = detail
	p.redraw()
}

func (p *Progress) remove(name string) {
	if i := slices.Index(p.active, name); i >= 0 {
		p.active = slices.Delete(p.active, i, i+1)
	}
	delete(p.details, name)
}

// state is one line: the steps under way with how far they are, and what is
// waited for.
func (p *Progress) state() string {
	var parts []string
	for _, name := range p.active {
		if detail := p.details[name]; detail != "" {
			name += ": " + detail
		}
		parts = append(parts, name)
	}
	for _, what := range slices.Sorted(maps.Keys(p.details)) {
		if !slices.Contains(p.active, what) {
			parts = append(parts, what+": "+p.details[what])
		}
	}
	return strings.ReplaceAll(strings.Join(parts, " | "), "\n", " ")
}

func (p *Progress) clear() {
	if p.terminal {
		fmt.Fprint(p.out, "\r\033[K")
	}
}

func (p *Progress) redraw() {
	if !p.terminal || len(p.active) == 0 {
		return
	}
	line := p.state()
	if size, err := unix.IoctlGetWinsize(int(os.Stderr.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 12 {
		runes := []rune(line)
		line = string(runes[:min(len(runes), int(size.Col)-12)])
	}
	fmt.Fprintf(p.out, "\r\033[K%7.2fs  %s", time.Since(p.begin).Seconds(), line)
}
