package desktop

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"novasphere.io/e2e/cluster/internal/image"
)

// readConfig adds to config what the last stage of a Dockerfile says about the
// process. What it says about files is for the container engine: COPY and RUN are
// the same in each of our Dockerfiles, and Archive does what they do.
func readConfig(file string, config *image.Config) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text := string(data)
	if stage := strings.LastIndex(text, "\nFROM "); stage >= 0 {
		text = text[stage+1:]
	}
	for _, line := range strings.Split(text, "\n") {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if err := apply(instruction, strings.TrimSpace(rest), config); err != nil {
			return fmt.Errorf("%s: %s: %w", file, line, err)
		}
	}
	return nil
}

func apply(instruction, rest string, config *image.Config) error {
	switch instruction {
	case "", "#", "FROM", "COPY", "RUN":
	case "USER":
		config.User = rest
	case "WORKDIR":
		config.WorkingDir = rest
	case "ENV":
		config.Env = append(config.Env, strings.Fields(rest)...)
	case "EXPOSE":
		config.ExposedPorts = map[string]struct{}{}
		for _, port := range strings.Fields(rest) {
			config.ExposedPorts[port+"/tcp"] = struct{}{}
		}
	case "ENTRYPOINT":
		return json.Unmarshal([]byte(rest), &config.Entrypoint)
	case "HEALTHCHECK":
		check, err := healthcheck(rest)
		config.Healthcheck = check
		return err
	default:
		return fmt.Errorf("this instruction is not known here; add it to %q", "apply")
	}
	return nil
}

func healthcheck(text string) (*image.Healthcheck, error) {
	options, command, found := strings.Cut(text, "CMD ")
	if !found {
		return nil, fmt.Errorf("want CMD and a JSON list")
	}
	check := &image.Healthcheck{}
	var words []string
	if err := json.Unmarshal([]byte(command), &words); err != nil {
		return nil, err
	}
	check.Test = slices.Concat([]string{"CMD"}, words)
	durations := map[string]*time.Duration{"--interval": &check.Interval, "--timeout": &check.Timeout, "--start-period": &check.StartPeriod}
	for _, option := range strings.Fields(options) {
		name, value, _ := strings.Cut(option, "=")
		var err error
		if target, known := durations[name]; known {
			*target, err = time.ParseDuration(value)
		} else if name == "--retries" {
			check.Retries, err = strconv.Atoi(value)
		} else {
			err = fmt.Errorf("%q is not known here", name)
		}
		if err != nil {
			return nil, err
		}
	}
	return check, nil
}
