// Command argo reads WorkflowTemplates and says what Argo's own linter has against them, a line each.
//
// With an expression as its argument it reads variables, as JSON, and prints what Argo makes of the expression: the
// linter does not look into those.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/util/expr/env"
	"github.com/argoproj/argo-workflows/v3/workflow/common"
	"github.com/argoproj/argo-workflows/v3/workflow/validate"
	"github.com/expr-lang/expr"
)

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	if len(os.Args) > 1 {
		fmt.Println(value(os.Args[1], text))
		return
	}
	for _, parsed := range common.ParseObjects(text, true) {
		if err := fault(parsed); err != nil {
			fmt.Println(err)
		}
	}
}

func fault(parsed common.ParseResult) error {
	if parsed.Err != nil {
		return parsed.Err
	}
	template, ok := parsed.Object.(*v1alpha1.WorkflowTemplate)
	if !ok {
		return fmt.Errorf("expected a WorkflowTemplate, got %T", parsed.Object)
	}
	// The two getters are for templates that refer to others; ours hold everything themselves.
	return validate.ValidateWorkflowTemplate(nil, nil, template, nil, validate.ValidateOpts{Lint: true})
}

func value(expression string, variables []byte) any {
	var given map[string]any
	if err := json.Unmarshal(variables, &given); err != nil {
		return err
	}
	result, err := expr.Eval(expression, env.GetFuncMap(given))
	if err != nil {
		return err
	}
	return result
}
