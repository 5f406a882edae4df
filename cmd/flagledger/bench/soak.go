package main

import (
	"context"
	"errors"
	"io"
)

func soak(context.Context, options, io.Writer) error { return errors.New("not yet") }
