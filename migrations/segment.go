package migrations

import (
	"encoding/json"
	"fmt"
)

// segmentCreatedV1 says which revision a segment was created at: always the
// first, until version 2 let one that comes back keep the revision it had.
func segmentCreatedV1(data json.RawMessage) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return nil, err
	}
	if members == nil {
		return nil, fmt.Errorf("want an object, not %s", data)
	}
	members["revision"] = json.RawMessage("1")
	return json.Marshal(members)
}
