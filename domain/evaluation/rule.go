package evaluation

// RuleType says how the parts of a Rule are joined.
type RuleType string

// The rule types. The same word joins a rule's conditions and its sub-rules.
const (
	All  RuleType = "ALL"  // every part holds
	Any  RuleType = "ANY"  // at least one part holds
	None RuleType = "NONE" // no part holds
)

// Operator compares the value of a property with the value of a condition.
type Operator string

// The operators, by their wire names.
const (
	Equal                Operator = "EQUAL"
	NotEqual             Operator = "NOT_EQUAL"
	GreaterThan          Operator = "GREATER_THAN"
	GreaterThanInclusive Operator = "GREATER_THAN_INCLUSIVE"
	LessThan             Operator = "LESS_THAN"
	LessThanInclusive    Operator = "LESS_THAN_INCLUSIVE"
	Contains             Operator = "CONTAINS"
	NotContains          Operator = "NOT_CONTAINS"
	Regex                Operator = "REGEX"
	Modulo               Operator = "MODULO"
	PercentageSplit      Operator = "PERCENTAGE_SPLIT"
	In                   Operator = "IN"
	IsSet                Operator = "IS_SET"
	IsNotSet             Operator = "IS_NOT_SET"
)

// Condition compares one property of the context with a value written by a person.
type Condition struct {
	ID       string   `json:"id,omitempty"` // stable over edits, unique in the segment; the engine does not read it
	Property string   `json:"property"`     // trait name, or a JSONPath beginning with "$."; blank for the identity key in a % split
	Operator Operator `json:"operator"`
	Value    string   `json:"value"`
}

// Rule joins conditions and sub-rules. It holds when both its conditions and its sub-rules do, each joined by Type;
// an empty rule holds.
type Rule struct {
	ID         string      `json:"id,omitempty"`
	Type       RuleType    `json:"type"`
	Conditions []Condition `json:"conditions,omitempty"`
	Rules      []Rule      `json:"rules,omitempty"`
}

// Segment is the set of identities for which every rule holds; without rules it is empty.
type Segment struct {
	Key   string // the salt of its % splits: the segment's SDK-facing id in decimal
	Name  string
	Rules []Rule
}
