#include "textflag.h"

// Register use: X0 message words plus constants (implicit operand of
// SHA256RNDS2); X1, X2 state a as ABEF, CDGH; X3, X4 state b; X5-X8 the
// message schedule; X9 scratch; X10 byte order mask; X11-X14 saved states.

#define rounds(k) \
	PADDD k(AX), X0          \
	SHA256RNDS2 X0, X1, X2   \
	SHA256RNDS2 X0, X3, X4   \
	PSHUFD $0x0E, X0, X0     \
	SHA256RNDS2 X0, X2, X1   \
	SHA256RNDS2 X0, X4, X3

#define load(off, m) \
	MOVOU off(SI), X0 \
	PSHUFB X10, X0    \
	MOVO X0, m

// extend prepares the words four rounds ahead: next += (cur:prev)>>32 bits, sigma1.
#define extend(prev, cur, next) \
	MOVO cur, X9          \
	PALIGNR $4, prev, X9  \
	PADDD X9, next        \
	SHA256MSG2 cur, next

// func blockPair(a, b *[8]uint32, p []byte)
TEXT ·blockPair(SB), NOSPLIT, $0-40
	MOVQ a+0(FP), DI
	MOVQ b+8(FP), BX
	MOVQ p_base+16(FP), SI
	MOVQ p_len+24(FP), DX
	SHRQ $6, DX
	JZ   done
	LEAQ k256<>(SB), AX
	MOVOU flip<>(SB), X10

	MOVOU 0(DI), X9
	MOVOU 16(DI), X2
	PSHUFD $0xB1, X9, X9
	PSHUFD $0x1B, X2, X2
	MOVO X9, X1
	PALIGNR $8, X2, X1
	PBLENDW $0xF0, X9, X2

	MOVOU 0(BX), X9
	MOVOU 16(BX), X4
	PSHUFD $0xB1, X9, X9
	PSHUFD $0x1B, X4, X4
	MOVO X9, X3
	PALIGNR $8, X4, X3
	PBLENDW $0xF0, X9, X4

loop:
	MOVO X1, X11
	MOVO X2, X12
	MOVO X3, X13
	MOVO X4, X14

	load(0, X5)
	rounds(0)
	load(16, X6)
	rounds(16)
	SHA256MSG1 X6, X5
	load(32, X7)
	rounds(32)
	SHA256MSG1 X7, X6
	load(48, X8)
	rounds(48)
	extend(X7, X8, X5)
	SHA256MSG1 X8, X7
	MOVO X5, X0
	rounds(64)
	extend(X8, X5, X6)
	SHA256MSG1 X5, X8
	MOVO X6, X0
	rounds(80)
	extend(X5, X6, X7)
	SHA256MSG1 X6, X5
	MOVO X7, X0
	rounds(96)
	extend(X6, X7, X8)
	SHA256MSG1 X7, X6
	MOVO X8, X0
	rounds(112)
	extend(X7, X8, X5)
	SHA256MSG1 X8, X7
	MOVO X5, X0
	rounds(128)
	extend(X8, X5, X6)
	SHA256MSG1 X5, X8
	MOVO X6, X0
	rounds(144)
	extend(X5, X6, X7)
	SHA256MSG1 X6, X5
	MOVO X7, X0
	rounds(160)
	extend(X6, X7, X8)
	SHA256MSG1 X7, X6
	MOVO X8, X0
	rounds(176)
	extend(X7, X8, X5)
	SHA256MSG1 X8, X7
	MOVO X5, X0
	rounds(192)
	extend(X8, X5, X6)
	SHA256MSG1 X5, X8
	MOVO X6, X0
	rounds(208)
	extend(X5, X6, X7)
	MOVO X7, X0
	rounds(224)
	extend(X6, X7, X8)
	MOVO X8, X0
	rounds(240)

	PADDD X11, X1
	PADDD X12, X2
	PADDD X13, X3
	PADDD X14, X4
	ADDQ $64, SI
	DECQ DX
	JNZ  loop

	PSHUFD $0x1B, X1, X9
	PSHUFD $0xB1, X2, X2
	MOVO X9, X1
	PBLENDW $0xF0, X2, X1
	PALIGNR $8, X9, X2
	MOVOU X1, 0(DI)
	MOVOU X2, 16(DI)

	PSHUFD $0x1B, X3, X9
	PSHUFD $0xB1, X4, X4
	MOVO X9, X3
	PBLENDW $0xF0, X4, X3
	PALIGNR $8, X9, X4
	MOVOU X3, 0(BX)
	MOVOU X4, 16(BX)

done:
	RET

// twoRounds runs four rounds of each state over its own message: X0 is the
// implicit operand, so the two messages take turns in it.
#define twoRounds(k, ma, mb) \
	MOVO ma, X0              \
	PADDD k(AX), X0          \
	SHA256RNDS2 X0, X1, X2   \
	PSHUFD $0x0E, X0, X15    \
	MOVO mb, X0              \
	PADDD k(AX), X0          \
	SHA256RNDS2 X0, X3, X4   \
	PSHUFD $0x0E, X0, X9     \
	MOVO X15, X0             \
	SHA256RNDS2 X0, X2, X1   \
	MOVO X9, X0              \
	SHA256RNDS2 X0, X4, X3

#define loadTwo(off, ma, mb) \
	MOVOU off(SI), ma \
	MOVOU off(R8), mb \
	PSHUFB X10, ma    \
	PSHUFB X10, mb

// func blockTwo(a, b *[8]uint32, p, q []byte)
//
// The message schedules are X5-X8 of p and X11-X14 of q; the states are saved
// on the stack.
TEXT ·blockTwo(SB), NOSPLIT, $64-64
	MOVQ a+0(FP), DI
	MOVQ b+8(FP), BX
	MOVQ p_base+16(FP), SI
	MOVQ p_len+24(FP), DX
	MOVQ q_base+40(FP), R8
	SHRQ $6, DX
	JZ   done
	LEAQ k256<>(SB), AX
	MOVOU flip<>(SB), X10

	MOVOU 0(DI), X9
	MOVOU 16(DI), X2
	PSHUFD $0xB1, X9, X9
	PSHUFD $0x1B, X2, X2
	MOVO X9, X1
	PALIGNR $8, X2, X1
	PBLENDW $0xF0, X9, X2

	MOVOU 0(BX), X9
	MOVOU 16(BX), X4
	PSHUFD $0xB1, X9, X9
	PSHUFD $0x1B, X4, X4
	MOVO X9, X3
	PALIGNR $8, X4, X3
	PBLENDW $0xF0, X9, X4

loop:
	MOVOU X1, state-64(SP)
	MOVOU X2, state-48(SP)
	MOVOU X3, state-32(SP)
	MOVOU X4, state-16(SP)

	loadTwo(0, X5, X11)
	twoRounds(0, X5, X11)
	loadTwo(16, X6, X12)
	twoRounds(16, X6, X12)
	SHA256MSG1 X6, X5
	SHA256MSG1 X12, X11
	loadTwo(32, X7, X13)
	twoRounds(32, X7, X13)
	SHA256MSG1 X7, X6
	SHA256MSG1 X13, X12
	loadTwo(48, X8, X14)
	twoRounds(48, X8, X14)
	extend(X7, X8, X5)
	extend(X13, X14, X11)
	SHA256MSG1 X8, X7
	SHA256MSG1 X14, X13
	twoRounds(64, X5, X11)
	extend(X8, X5, X6)
	extend(X14, X11, X12)
	SHA256MSG1 X5, X8
	SHA256MSG1 X11, X14
	twoRounds(80, X6, X12)
	extend(X5, X6, X7)
	extend(X11, X12, X13)
	SHA256MSG1 X6, X5
	SHA256MSG1 X12, X11
	twoRounds(96, X7, X13)
	extend(X6, X7, X8)
	extend(X12, X13, X14)
	SHA256MSG1 X7, X6
	SHA256MSG1 X13, X12
	twoRounds(112, X8, X14)
	extend(X7, X8, X5)
	extend(X13, X14, X11)
	SHA256MSG1 X8, X7
	SHA256MSG1 X14, X13
	twoRounds(128, X5, X11)
	extend(X8, X5, X6)
	extend(X14, X11, X12)
	SHA256MSG1 X5, X8
	SHA256MSG1 X11, X14
	twoRounds(144, X6, X12)
	extend(X5, X6, X7)
	extend(X11, X12, X13)
	SHA256MSG1 X6, X5
	SHA256MSG1 X12, X11
	twoRounds(160, X7, X13)
	extend(X6, X7, X8)
	extend(X12, X13, X14)
	SHA256MSG1 X7, X6
	SHA256MSG1 X13, X12
	twoRounds(176, X8, X14)
	extend(X7, X8, X5)
	extend(X13, X14, X11)
	SHA256MSG1 X8, X7
	SHA256MSG1 X14, X13
	twoRounds(192, X5, X11)
	extend(X8, X5, X6)
	extend(X14, X11, X12)
	SHA256MSG1 X5, X8
	SHA256MSG1 X11, X14
	twoRounds(208, X6, X12)
	extend(X5, X6, X7)
	extend(X11, X12, X13)
	twoRounds(224, X7, X13)
	extend(X6, X7, X8)
	extend(X12, X13, X14)
	twoRounds(240, X8, X14)

	MOVOU state-64(SP), X9
	MOVOU state-48(SP), X15
	PADDD X9, X1
	PADDD X15, X2
	MOVOU state-32(SP), X9
	MOVOU state-16(SP), X15
	PADDD X9, X3
	PADDD X15, X4
	ADDQ $64, SI
	ADDQ $64, R8
	DECQ DX
	JNZ  loop

	PSHUFD $0x1B, X1, X9
	PSHUFD $0xB1, X2, X2
	MOVO X9, X1
	PBLENDW $0xF0, X2, X1
	PALIGNR $8, X9, X2
	MOVOU X1, 0(DI)
	MOVOU X2, 16(DI)

	PSHUFD $0x1B, X3, X9
	PSHUFD $0xB1, X4, X4
	MOVO X9, X3
	PBLENDW $0xF0, X4, X3
	PALIGNR $8, X9, X4
	MOVOU X3, 0(BX)
	MOVOU X4, 16(BX)

done:
	RET

// func accelerated() bool
TEXT ·accelerated(SB), NOSPLIT, $0-1
	MOVB $0, ret+0(FP)
	XORL AX, AX
	CPUID
	CMPL AX, $7
	JLT  no
	MOVL $1, AX
	XORL CX, CX
	CPUID
	ANDL $0x80200, CX
	CMPL CX, $0x80200
	JNE  no
	MOVL $7, AX
	XORL CX, CX
	CPUID
	BTL  $29, BX
	JCC  no
	MOVB $1, ret+0(FP)

no:
	RET

DATA flip<>+0(SB)/8, $0x0405060700010203
DATA flip<>+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL flip<>(SB), RODATA|NOPTR, $16

// The round constants: FIPS 180-4, section 4.2.2.
DATA k256<>+0(SB)/4, $0x428a2f98
DATA k256<>+4(SB)/4, $0x71374491
DATA k256<>+8(SB)/4, $0xb5c0fbcf
DATA k256<>+12(SB)/4, $0xe9b5dba5
DATA k256<>+16(SB)/4, $0x3956c25b
DATA k256<>+20(SB)/4, $0x59f111f1
DATA k256<>+24(SB)/4, $0x923f82a4
DATA k256<>+28(SB)/4, $0xab1c5ed5
DATA k256<>+32(SB)/4, $0xd807aa98
DATA k256<>+36(SB)/4, $0x12835b01
DATA k256<>+40(SB)/4, $0x243185be
DATA k256<>+44(SB)/4, $0x550c7dc3
DATA k256<>+48(SB)/4, $0x72be5d74
DATA k256<>+52(SB)/4, $0x80deb1fe
DATA k256<>+56(SB)/4, $0x9bdc06a7
DATA k256<>+60(SB)/4, $0xc19bf174
DATA k256<>+64(SB)/4, $0xe49b69c1
DATA k256<>+68(SB)/4, $0xefbe4786
DATA k256<>+72(SB)/4, $0x0fc19dc6
DATA k256<>+76(SB)/4, $0x240ca1cc
DATA k256<>+80(SB)/4, $0x2de92c6f
DATA k256<>+84(SB)/4, $0x4a7484aa
DATA k256<>+88(SB)/4, $0x5cb0a9dc
DATA k256<>+92(SB)/4, $0x76f988da
DATA k256<>+96(SB)/4, $0x983e5152
DATA k256<>+100(SB)/4, $0xa831c66d
DATA k256<>+104(SB)/4, $0xb00327c8
DATA k256<>+108(SB)/4, $0xbf597fc7
DATA k256<>+112(SB)/4, $0xc6e00bf3
DATA k256<>+116(SB)/4, $0xd5a79147
DATA k256<>+120(SB)/4, $0x06ca6351
DATA k256<>+124(SB)/4, $0x14292967
DATA k256<>+128(SB)/4, $0x27b70a85
DATA k256<>+132(SB)/4, $0x2e1b2138
DATA k256<>+136(SB)/4, $0x4d2c6dfc
DATA k256<>+140(SB)/4, $0x53380d13
DATA k256<>+144(SB)/4, $0x650a7354
DATA k256<>+148(SB)/4, $0x766a0abb
DATA k256<>+152(SB)/4, $0x81c2c92e
DATA k256<>+156(SB)/4, $0x92722c85
DATA k256<>+160(SB)/4, $0xa2bfe8a1
DATA k256<>+164(SB)/4, $0xa81a664b
DATA k256<>+168(SB)/4, $0xc24b8b70
DATA k256<>+172(SB)/4, $0xc76c51a3
DATA k256<>+176(SB)/4, $0xd192e819
DATA k256<>+180(SB)/4, $0xd6990624
DATA k256<>+184(SB)/4, $0xf40e3585
DATA k256<>+188(SB)/4, $0x106aa070
DATA k256<>+192(SB)/4, $0x19a4c116
DATA k256<>+196(SB)/4, $0x1e376c08
DATA k256<>+200(SB)/4, $0x2748774c
DATA k256<>+204(SB)/4, $0x34b0bcb5
DATA k256<>+208(SB)/4, $0x391c0cb3
DATA k256<>+212(SB)/4, $0x4ed8aa4a
DATA k256<>+216(SB)/4, $0x5b9cca4f
DATA k256<>+220(SB)/4, $0x682e6ff3
DATA k256<>+224(SB)/4, $0x748f82ee
DATA k256<>+228(SB)/4, $0x78a5636f
DATA k256<>+232(SB)/4, $0x84c87814
DATA k256<>+236(SB)/4, $0x8cc70208
DATA k256<>+240(SB)/4, $0x90befffa
DATA k256<>+244(SB)/4, $0xa4506ceb
DATA k256<>+248(SB)/4, $0xbef9a3f7
DATA k256<>+252(SB)/4, $0xc67178f2
GLOBL k256<>(SB), RODATA|NOPTR, $256
