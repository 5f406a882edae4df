package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
)

// serveFloor is what Flagledger is compared with: the least that a server on
// Echo does for a body of the same size and an answer of the same size. The
// size of the answer stands in the path.
func serveFloor(ctx context.Context, stdout io.Writer) error {
	answer := make([]byte, 16<<20)
	for i := range answer {
		answer[i] = 'x'
	}
	e := echo.New()
	fixed := func(c echo.Context) error {
		size, err := strconv.Atoi(c.Param("size"))
		if err != nil || size < 0 || size > len(answer) {
			return echo.NewHTTPError(http.StatusBadRequest, "not a size")
		}
		if _, err := io.ReadAll(c.Request().Body); err != nil {
			return err
		}
		c.Response().Header().Set(echo.HeaderContentLength, c.Param("size")) // or large answers would be sent in chunks, which costs more
		return c.JSONBlob(http.StatusOK, answer[:size])
	}
	e.GET("/fixed/:size", fixed)
	e.POST("/fixed/:size", fixed)
	e.GET("/unchanged", func(c echo.Context) error { return c.NoContent(http.StatusNotModified) })

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if _, err := fmt.Fprintf(stdout, "msg=listening address=%s\n", listener.Addr()); err != nil {
		return err
	}
	if err := server.Serve(listener); ctx.Err() == nil {
		return err
	}
	return nil
}
