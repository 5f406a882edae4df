#include "textflag.h"

// Sixteen MD5 sums side by side: each vector has one word of eight messages, and two sets of vectors are worked on in
// turns, so that one set's operations fill the time in which the other's wait for each other. Names and order of the
// operations are those of RFC 1321, 3.4.
//
//	Y0 Y1 Y2 Y3   A B C D of messages 0 to 7
//	Y4 Y5 Y6 Y7   A B C D of messages 8 to 15
//	Y8            the constant of the step
//	Y9  to Y12    scratch
//	Y13           all ones
//	R9            the 16 words of the block, each for all messages: 16 times 64 bytes

// ADDWORD begins a step: a += X[k] + T[i].
#define ADDWORD(a, e, k, i) \
	VPBROADCASTD (4*i)(DX), Y8 \
	VPADDD (64*k)(R9), a, a \
	VPADDD (64*k+32)(R9), e, e \
	VPADDD Y8, a, a \
	VPADDD Y8, e, e

// ROTATE ends a step: a = b + (a <<< s).
#define ROTATE(a, b, e, f, s) \
	VPSLLD $s, a, Y9 \
	VPSLLD $s, e, Y11 \
	VPSRLD $(32-s), a, a \
	VPSRLD $(32-s), e, e \
	VPOR Y9, a, a \
	VPOR Y11, e, e \
	VPADDD b, a, a \
	VPADDD f, e, e

// F(b,c,d) = b and c, or (not b) and d: computed as d xor (b and (c xor d)).
#define STEP_F(a, b, c, d, e, f, g, h, k, i, s) \
	ADDWORD(a, e, k, i) \
	VPXOR c, d, Y9 \
	VPXOR g, h, Y11 \
	VPAND b, Y9, Y9 \
	VPAND f, Y11, Y11 \
	VPXOR d, Y9, Y9 \
	VPXOR h, Y11, Y11 \
	VPADDD Y9, a, a \
	VPADDD Y11, e, e \
	ROTATE(a, b, e, f, s)

// G(b,c,d) = b and d, or c and (not d): no bit is in both parts, so that they are added one after the other, and only the
// first has to wait for b.
#define STEP_G(a, b, c, d, e, f, g, h, k, i, s) \
	ADDWORD(a, e, k, i) \
	VPANDN c, d, Y9 \
	VPANDN g, h, Y11 \
	VPADDD Y9, a, a \
	VPADDD Y11, e, e \
	VPAND b, d, Y10 \
	VPAND f, h, Y12 \
	VPADDD Y10, a, a \
	VPADDD Y12, e, e \
	ROTATE(a, b, e, f, s)

// H(b,c,d) = b xor c xor d.
#define STEP_H(a, b, c, d, e, f, g, h, k, i, s) \
	ADDWORD(a, e, k, i) \
	VPXOR c, d, Y9 \
	VPXOR g, h, Y11 \
	VPXOR b, Y9, Y9 \
	VPXOR f, Y11, Y11 \
	VPADDD Y9, a, a \
	VPADDD Y11, e, e \
	ROTATE(a, b, e, f, s)

// I(b,c,d) = c xor (b or (not d)).
#define STEP_I(a, b, c, d, e, f, g, h, k, i, s) \
	ADDWORD(a, e, k, i) \
	VPXOR Y13, d, Y9 \
	VPXOR Y13, h, Y11 \
	VPOR b, Y9, Y9 \
	VPOR f, Y11, Y11 \
	VPXOR c, Y9, Y9 \
	VPXOR g, Y11, Y11 \
	VPADDD Y9, a, a \
	VPADDD Y11, e, e \
	ROTATE(a, b, e, f, s)

// FOUR is four steps, after which A, B, C and D are in their places again; k0 to k3 are the words they use.
#define FOUR(STEP, k0, k1, k2, k3, i, s0, s1, s2, s3) \
	STEP(Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, k0, (i+0), s0) \
	STEP(Y3, Y0, Y1, Y2, Y7, Y4, Y5, Y6, k1, (i+1), s1) \
	STEP(Y2, Y3, Y0, Y1, Y6, Y7, Y4, Y5, k2, (i+2), s2) \
	STEP(Y1, Y2, Y3, Y0, Y5, Y6, Y7, Y4, k3, (i+3), s3)

// WORD puts word k of the block beside itself sixteen times.
#define WORD(k) \
	VPBROADCASTD (4*k)(SI), Y8 \
	VMOVDQU Y8, (64*k)(R9) \
	VMOVDQU Y8, (64*k+32)(R9)

// FIRST does the same for one of the first words, which are different in each message.
#define FIRST(k) \
	VPBROADCASTD (4*k)(SI), Y8 \
	VPADDD (64*k)(R8), Y8, Y9 \
	VPADDD (64*k+32)(R8), Y8, Y10 \
	VMOVDQU Y9, (64*k)(R9) \
	VMOVDQU Y10, (64*k+32)(R9)

// BEGIN sets word i of all sums to what a sum begins with (RFC 1321, 3.3).
#define BEGIN(i, value) \
	MOVL $value, AX \
	VMOVD AX, X8 \
	VPBROADCASTD X8, Y8 \
	VMOVDQU Y8, (64*i)(DI) \
	VMOVDQU Y8, (64*i+32)(DI)

// ADDSUM adds what the block made of word i, in y and z, to the sums.
#define ADDSUM(i, y, z) \
	VPADDD (64*i)(DI), y, y \
	VPADDD (64*i+32)(DI), z, z \
	VMOVDQU y, (64*i)(DI) \
	VMOVDQU z, (64*i+32)(DI)

// func sum16(sums, first *Words, sines *[64]uint32, blocks *byte, n int)
TEXT ·sum16(SB), 0, $1088-40
	MOVQ sums+0(FP), DI
	MOVQ first+8(FP), R8
	MOVQ sines+16(FP), DX
	MOVQ blocks+24(FP), SI
	MOVQ n+32(FP), CX
	LEAQ 63(SP), R9 // 1024 bytes of the frame, from the next multiple of 64
	ANDQ $~63, R9
	VPCMPEQD Y13, Y13, Y13

	BEGIN(0, 0x67452301)
	BEGIN(1, 0xefcdab89)
	BEGIN(2, 0x98badcfe)
	BEGIN(3, 0x10325476)

	FIRST(0)
	FIRST(1)
	FIRST(2)
	FIRST(3)
	JMP  rest

block: // all but the first
	WORD(0)
	WORD(1)
	WORD(2)
	WORD(3)

rest:
	WORD(4)
	WORD(5)
	WORD(6)
	WORD(7)
	WORD(8)
	WORD(9)
	WORD(10)
	WORD(11)
	WORD(12)
	WORD(13)
	WORD(14)
	WORD(15)

	VMOVDQU 0(DI), Y0
	VMOVDQU 32(DI), Y4
	VMOVDQU 64(DI), Y1
	VMOVDQU 96(DI), Y5
	VMOVDQU 128(DI), Y2
	VMOVDQU 160(DI), Y6
	VMOVDQU 192(DI), Y3
	VMOVDQU 224(DI), Y7

	FOUR(STEP_F, 0, 1, 2, 3, 0, 7, 12, 17, 22)
	FOUR(STEP_F, 4, 5, 6, 7, 4, 7, 12, 17, 22)
	FOUR(STEP_F, 8, 9, 10, 11, 8, 7, 12, 17, 22)
	FOUR(STEP_F, 12, 13, 14, 15, 12, 7, 12, 17, 22)

	FOUR(STEP_G, 1, 6, 11, 0, 16, 5, 9, 14, 20)
	FOUR(STEP_G, 5, 10, 15, 4, 20, 5, 9, 14, 20)
	FOUR(STEP_G, 9, 14, 3, 8, 24, 5, 9, 14, 20)
	FOUR(STEP_G, 13, 2, 7, 12, 28, 5, 9, 14, 20)

	FOUR(STEP_H, 5, 8, 11, 14, 32, 4, 11, 16, 23)
	FOUR(STEP_H, 1, 4, 7, 10, 36, 4, 11, 16, 23)
	FOUR(STEP_H, 13, 0, 3, 6, 40, 4, 11, 16, 23)
	FOUR(STEP_H, 9, 12, 15, 2, 44, 4, 11, 16, 23)

	FOUR(STEP_I, 0, 7, 14, 5, 48, 6, 10, 15, 21)
	FOUR(STEP_I, 12, 3, 10, 1, 52, 6, 10, 15, 21)
	FOUR(STEP_I, 8, 15, 6, 13, 56, 6, 10, 15, 21)
	FOUR(STEP_I, 4, 11, 2, 9, 60, 6, 10, 15, 21)

	ADDSUM(0, Y0, Y4)
	ADDSUM(1, Y1, Y5)
	ADDSUM(2, Y2, Y6)
	ADDSUM(3, Y3, Y7)

	ADDQ $64, SI
	DECQ CX
	JNZ  block

	VZEROUPPER
	RET
