// Package health judges objects as GitOps tools do.
package health

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	lua "github.com/yuin/gopher-lua"
	"sigs.k8s.io/yaml"
)

// argoTimeout is what Argo CD gives a script.
const argoTimeout = time.Second

// argoStatuses are what Argo CD takes from a script.
var argoStatuses = []string{"Unknown", "Progressing", "Suspended", "Healthy", "Degraded", "Missing"}

// Scripts are those of a manifest of Argo CD's ConfigMap, by kind.
type Scripts map[string]string

// ReadScripts reads the health scripts of the kinds of novasphere.io.
func ReadScripts(path string) (Scripts, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var manifest struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(text, &manifest); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	scripts := Scripts{}
	for _, kind := range Kinds {
		script, found := manifest.Data["resource.customizations.health.novasphere.io_"+kind]
		if !found {
			return nil, fmt.Errorf("%s has no script for %s", path, kind)
		}
		scripts[kind] = script
	}
	return scripts, nil
}

// Judge runs the script of the object's kind in Argo CD's interpreter, with the
// libraries and the time that Argo CD allows (argo-cd, util/lua/lua.go).
func (s Scripts) Judge(object map[string]any) (status, message string, err error) {
	kind, _ := object["kind"].(string)
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.LoadLibName, lua.OpenPackage},
		{lua.BaseLibName, lua.OpenBase},
		{lua.TabLibName, lua.OpenTable},
	} {
		call := lua.P{Fn: state.NewFunction(library.open), NRet: 0, Protect: true}
		if err := state.CallByParam(call, lua.LString(library.name)); err != nil {
			return "", "", err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), argoTimeout)
	defer cancel()
	state.SetContext(ctx)
	state.SetGlobal("obj", luaValue(state, object))
	if err := state.DoString(s[kind]); err != nil {
		return "", "", err
	}
	answer, isTable := state.Get(-1).(*lua.LTable)
	if !isTable {
		return "", "", fmt.Errorf("the script of %s returns a %s", kind, state.Get(-1).Type())
	}
	status, message = lua.LVAsString(answer.RawGetString("status")), lua.LVAsString(answer.RawGetString("message"))
	if !slices.Contains(argoStatuses, status) {
		return "", "", fmt.Errorf("the script of %s says %q, which is no health", kind, status)
	}
	return status, message, nil
}

// luaValue makes a value of JSON one of Lua, as Argo CD does.
func luaValue(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case string:
		return lua.LString(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case []any:
		list := state.CreateTable(len(value), 0)
		for _, item := range value {
			list.Append(luaValue(state, item))
		}
		return list
	case map[string]any:
		table := state.CreateTable(0, len(value))
		for key, item := range value {
			table.RawSetString(key, luaValue(state, item))
		}
		return table
	}
	return lua.LNil
}
