package jobs

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// secretIn returns where in a configuration there is something secret, by the
// name of the field: "data[1].token"; "" if nowhere.
func secretIn(config json.RawMessage) string {
	var v any
	if len(config) == 0 || json.Unmarshal(config, &v) != nil {
		return ""
	}
	return findSecret("", v)
}

// findSecret looks at a value and what is in it. JSON of the library's depth
// limit (10,000) is what it can be given at most.
func findSecret(at string, v any) string {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range sortedNames(v) {
			here := strings.TrimPrefix(at+"."+name, ".")
			if text, ok := v[name].(string); ok && text != "" && secretName(name) {
				return here
			}
			if found := findSecret(here, v[name]); found != "" {
				return found
			}
		}
	case []any:
		for i, item := range v {
			if found := findSecret(at+"["+strconv.Itoa(i)+"]", item); found != "" {
				return found
			}
		}
	}
	return ""
}

// sortedNames returns the names of an object's fields in their order.
func sortedNames(v map[string]any) []string {
	names := make([]string, 0, len(v))
	for name := range v {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// secretName tells whether a field of this name holds something secret.
func secretName(name string) bool {
	plain := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(name))
	return slices.Contains([]string{
		"token", "accesstoken", "hftoken", "secret", "password", "passwd", "apikey", "authorization",
		"accesskey", "secretkey", "secretaccesskey", "privatekey", "credential", "credentials",
	}, plain)
}
